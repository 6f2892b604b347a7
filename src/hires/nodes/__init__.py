"""The vocabulary of workflows: typed functions under ComfyUI's names, a file a family. A node calls the rooms below."""
