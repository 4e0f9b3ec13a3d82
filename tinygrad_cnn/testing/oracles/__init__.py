"""Results computed in another way: definitions, loops, equivalent compositions."""
