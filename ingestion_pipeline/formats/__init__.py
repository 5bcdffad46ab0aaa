"""One reader per family of formats behind one small interface."""
