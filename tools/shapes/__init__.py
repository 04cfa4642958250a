"""The shapes checkpoint: pictures of coloured shapes and a small Qwen2.5-VL that grounds them."""
