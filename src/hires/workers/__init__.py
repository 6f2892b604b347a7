"""Work shared among processes on several GPUs or machines: Ray places it, carries it and repeats what is lost."""
