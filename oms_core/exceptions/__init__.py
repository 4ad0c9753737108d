"""Orders that need a person: found in what is released and known, with a suggestion, until somebody decides."""
