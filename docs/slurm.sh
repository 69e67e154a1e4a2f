#!/bin/bash
# A seed a task of a Slurm job array, all of them into one study folder; the last one to end leaves the whole report.
#
#   sbatch --array=0-9 --export=ALL,STUDY=onecycle,OUT=results,DATA=data docs/slurm.sh
#
# OUT lies on a file system that all nodes share, and on which locks work. The range test is done by the task that
# comes first; the others wait for it. A task that was killed (time limit, preemption) goes on where it was.
#SBATCH --job-name=harness
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --time=02:00:00
#SBATCH --requeue
set -eu
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
exec python -m harness.study "$STUDY" --seeds "$SLURM_ARRAY_TASK_ID" --out "$OUT" ${DATA:+--data "$DATA"}
