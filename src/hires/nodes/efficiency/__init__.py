"""The Efficiency nodes: loaders, samplers, scripts and plots that do the work of many nodes in one."""
