"""supernet/elastic."""
