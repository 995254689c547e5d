"""A stand-in for a language model that needs no network: it judges and writes, and is no LLM."""
