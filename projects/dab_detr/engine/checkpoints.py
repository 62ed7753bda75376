"""Saves checkpoints periodically and keeps the last few."""

import re
from pathlib import Path

from detectron2.engine import hooks


class PeriodicCheckpointer(hooks.PeriodicCheckpointer):
    """Detectron2's hook, which also removes the checkpoints that it saved before a resume."""

    def before_train(self) -> None:
        """Adopt the earlier checkpoints of this folder and remove all but the last few."""
        super().before_train()
        if self.max_to_keep is None:
            return
        folder = Path(self.checkpointer.save_dir)
        numbers = {
            int(x[1]): x[0] for path in folder.iterdir() if (x := re.fullmatch(r"model_(\d{7})\.pth", path.name))
        }
        before = [str(folder / numbers[i]) for i in sorted(numbers) if i < self.trainer.start_iter]
        for path in before[: -self.max_to_keep]:
            self.path_manager.rm(path)
        self.recent_checkpoints = before[-self.max_to_keep :]
