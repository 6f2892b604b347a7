"""ComfyUI's protocol: prompts into the same queue, a websocket that tells how they go on, files and nodes."""
