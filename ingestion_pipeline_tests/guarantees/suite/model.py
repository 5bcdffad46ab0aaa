"""What must be in Druid in the end, kept by the one who sends. Pure.

What belongs here: the rows of each item's newest surviving version. What does not: what Druid has (`checks`). A deed
counts from the moment that it is acknowledged; the schedule sees to it that no more than that is needed.
"""

from dataclasses import dataclass, field
from random import Random

from ingestion_pipeline_tests.guarantees.suite.content import Content, Row, fix_of, make
from ingestion_pipeline_tests.guarantees.suite.schedule import Action, Item
from ingestion_pipeline_tests.guarantees.suite.surroundings import DATASOURCES


@dataclass(slots=True)
class ItemModel:
    """One file as its sender knows it.

    Attributes:
        content: What was sent last.
        surviving: What Druid must have of it.
    """

    item: Item
    content: Content | None = None
    surviving: tuple[Row, ...] = ()

    def next_content(self, action: Action) -> Content:
        """The file that an action sends."""
        item = self.item
        if action.deed in ("send", "correct", "replace"):
            return make(
                Random(action.content),
                mark=f"{item.number:04}.{item.actions.index(action)}",
                datasource=DATASOURCES[item.datasource],
                organization=item.organization,
                day=item.day,
                kind=action.kind,
                rows=action.rows,
                rejected=action.rejected,
                compressed=item.compressed,
            )
        assert self.content is not None, "the first action of an item sends it"
        return fix_of(self.content) if action.deed == "fix" else self.content

    def done(self, action: Action, content: Content) -> None:
        """An action was acknowledged."""
        match action.deed:
            case "send" | "correct" | "replace" | "reput":
                self.content, self.surviving = content, content.rows
            case "fix":
                self.surviving += content.rows
            case "undo":
                self.surviving = ()
            case "replay":
                pass


@dataclass(slots=True)
class Model:
    """All items."""

    items: dict[int, ItemModel] = field(default_factory=dict)

    @classmethod
    def of(cls, items: tuple[Item, ...]) -> "Model":
        return cls({item.number: ItemModel(item) for item in items})

    def expected(self, datasource: str) -> list[Row]:
        """Every row that the datasource must have."""
        return [row for one in self.items.values() if one.item.datasource == datasource for row in one.surviving]
