"""Detectron2's dataset mapper, whose errors name the image."""

from detectron2.data import DatasetMapper


class NamingMapper(DatasetMapper):
    """`DatasetMapper` with its arguments. Raises ValueError, naming the file, for an image that it cannot use."""

    def __call__(self, dataset_dict: dict) -> dict | None:
        try:
            return super().__call__(dataset_dict)
        except Exception as error:
            name = dataset_dict.get("file_name", "an image without file_name")
            raise ValueError(
                f"{name} cannot be used ({type(error).__name__}: {error}): mend it, or leave it out of the "
                "annotations; tools/check_dataset.py names all such images"
            ) from error
