"""Counts in messages."""


def format_items(count: int, noun: str) -> str:
    """1 image, 2 images, 1,000 classes: a count and the plural of `noun`, a regular one."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"
