"""Where images come from: folders, archives, lists, arrays, IDX files and built-in datasets."""
