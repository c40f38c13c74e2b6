"""Vision language models behind one contract: encode frames, prefill over a context, decode text."""
