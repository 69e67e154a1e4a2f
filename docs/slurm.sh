#!/bin/bash
# One seed per task of a Slurm job array, all in one study folder; the last task to end writes the complete report.
#
#   sbatch --array=0-9 --export=ALL,STUDY=onecycle,OUT=results,DATA=data docs/slurm.sh
#
# OUT must be on a file system that all nodes share and that supports locks. The first task makes the range test; the
# others wait for it. A task that was killed (time limit, preemption) resumes from its checkpoint.
#SBATCH --job-name=harness
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --time=02:00:00
#SBATCH --requeue
set -eu
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
exec python -m harness.study "$STUDY" --seeds "$SLURM_ARRAY_TASK_ID" --out "$OUT" ${DATA:+--data "$DATA"}
