"""The one place that knows how Detectron2 0.5 and its main branch differ."""

from detectron2.utils.events import EventStorage, get_event_storage


def event_storage() -> EventStorage | None:
    """The event storage of the training in progress; None outside of one. (0.5 has no has_event_storage.)"""
    try:
        return get_event_storage()
    except AssertionError:
        return None
