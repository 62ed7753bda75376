# A package, not only a folder: upstream Detectron2 installs a package of this name, which would hide it.
