"""A Label Studio ML backend that grounds text prompts with Qwen2.5-VL."""

__version__ = "0.1.0"
