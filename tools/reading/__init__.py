"""The reading checkpoint: generated print, receipts and shapes, and a small Qwen2.5-VL for them."""
