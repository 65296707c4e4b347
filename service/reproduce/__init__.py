"""The digital twin of the paper's runs: acquire -> validate -> draw -> table."""
