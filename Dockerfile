# One image for code server, webserver, daemon and the command line. Packages come from hashed locks only;
# the embedded stack's servers are not in it.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY build-requirements.lock deploy/requirements.lock ./
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r build-requirements.lock \
 && /opt/venv/bin/uv pip sync --no-cache --compile-bytecode --python /opt/venv/bin/python --require-hashes --no-build-isolation \
    build-requirements.lock requirements.lock
COPY pyproject.toml README.md ./
COPY ingestion_pipeline ingestion_pipeline
RUN /opt/venv/bin/uv pip install --no-cache --compile-bytecode --python /opt/venv/bin/python --no-deps --no-build-isolation . \
 && /opt/venv/bin/uv pip uninstall --python /opt/venv/bin/python uv

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /opt/dagster --create-home ingestion
COPY --from=build /opt/venv /opt/venv
COPY dagster.yaml workspace.yaml deploy/prepare.py /opt/dagster/
ENV PATH=/opt/venv/bin:$PATH \
    DAGSTER_HOME=/opt/dagster \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER ingestion
WORKDIR /opt/dagster
CMD ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", "4000", "-m", "ingestion_pipeline.definitions"]
