"""When a training saves, and how many of its checkpoints are kept."""

import re
from pathlib import Path

from detectron2.engine import hooks


class PeriodicCheckpointer(hooks.PeriodicCheckpointer):
    """Detectron2's hook, which on resume forgets what it has saved before, and would keep it for ever."""

    def before_train(self) -> None:
        """Take those of before for its own, and remove what is too many of them."""
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
