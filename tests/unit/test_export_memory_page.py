"""The table of an export's memory in docs/exporting.md is that of what was measured."""

from benchmarks import export_memory


def test_the_table_is_made_of_what_was_measured() -> None:
    text = export_memory.PAGE.read_text(encoding="utf-8")
    kept = export_memory.read()
    assert export_memory.render(text, kept) == text and "| resnet50 " in text
    first = next(iter(kept))
    assert export_memory.render(text, {first: kept[first]}) != text
