"""Counts in messages, as the service writes them."""

from service.plurals import format_items as format_items
