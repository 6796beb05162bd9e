"""Running an item: from an admitted message to the events that say what came out."""
