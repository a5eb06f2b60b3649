"""What the tests of pages share."""

from tests.doc_pages import own as own
