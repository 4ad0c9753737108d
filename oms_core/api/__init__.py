"""The HTTP face of the released tables: look up by any number, as of any release."""
