"""Reads run folders of eabench, and writes plots, a page and comparisons."""
