"""Tables, the quality-size frontier, and a page to read every segment on."""
