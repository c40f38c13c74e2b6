"""The sprite theatre: synthetic streams whose every event is known."""
