"""The Slurm script with stand-ins for Slurm and Python: what every task is told, and when the job is queued again."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools/train.sbatch"
STAND_INS = {
    # two tasks on each of two machines
    "srun": """shift
for task in 0 1 2 3; do
    SLURM_PROCID=$task SLURM_LOCALID=$((task % 2)) SLURM_NTASKS=4 SLURM_NTASKS_PER_NODE=2 "$@" || exit 1
done""",
    "scontrol": 'if [ "$1" = show ]; then printf "node7\\nnode8\\n"; else echo "$*" >> queue; fi',
    "python": """echo "$RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $MASTER_ADDR:$MASTER_PORT $*" >> tasks
eval "$DOES\"""",
}


def run(folder: Path, does: str) -> subprocess.CompletedProcess:
    """The script, where the training does this."""
    for name, text in STAND_INS.items():
        (folder / name).write_text(f"#!{shutil.which('bash')}\n{text}\n")
        (folder / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "40123", "SLURM_JOB_NODELIST": "node[7-8]", "DOES": does}
    return subprocess.run(
        ["bash", SCRIPT, "my config.py", "output/mine", "train.seed=1"],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **slurm},
    )


def test_every_task_is_told_who_it_is(tmp_path):
    assert run(tmp_path, "true").returncode == 0
    told = "train_net.py --resume --config-file my config.py train.output_dir=output/mine train.seed=1"
    assert (tmp_path / "tasks").read_text().splitlines() == [
        f"{rank}/4 {rank % 2}/2 node7:20123 {told}" for rank in range(4)
    ]


@pytest.mark.parametrize(
    "does, status, queued",
    [
        ("true", 0, True),  # stopped by a signal, all saved
        ("mkdir -p output/mine; touch output/mine/model_final.pth", 0, False),
        ("false", 1, False),
    ],
)
def test_the_job_is_queued_again_until_the_training_has_ended(does, status, queued, tmp_path):
    assert run(tmp_path, does).returncode == status
    assert (tmp_path / "queue").exists() == queued
    if queued:
        assert (tmp_path / "queue").read_text() == "requeue 40123\n"
