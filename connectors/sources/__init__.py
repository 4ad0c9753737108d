"""One declarative module per source system; each exports `SOURCE`."""
