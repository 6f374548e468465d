"""The analysis side of eabench: reads run folders, writes plots, a page and comparisons."""
