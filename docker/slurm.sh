#!/bin/bash
# Training on several nodes by SLURM, from the project's root: sbatch docker/slurm.sh
# Nodes and GPUs below must be train.nodes and train.devices of params.yaml. The project lies on a file system that all
# nodes see: data/ and reports/verdict.json (as download, partition and validate write them: `dvc repro validate`),
# runs/ (checkpoints; a job that is requeued goes on from them), models/ and metrics/, with .venv from `make setup` and, for model.weights: imagenet, the start weights in
# ~/.cache/torch. In a container all of these are mounted, read-only but for runs/, models/ and metrics/.
# Afterwards `dvc commit train` records the outputs.
#SBATCH --job-name=ucc-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Before time is up, in which training writes its checkpoint and ends; torchrun waits 110 s for that.
#SBATCH --signal=TERM@180

set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?start it with sbatch}"
source .venv/bin/activate
export PYTHONPATH=src
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=110
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # else processes that are started anew find the addresses of the old ones

first_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
exec srun --cpus-per-task "$SLURM_CPUS_PER_TASK" torchrun \
  --nnodes "$SLURM_JOB_NUM_NODES" \
  --nproc-per-node "$SLURM_GPUS_ON_NODE" \
  --rdzv-id "$SLURM_JOB_ID" \
  --rdzv-backend c10d \
  --rdzv-endpoint "$first_node:29500" \
  --max-restarts 3 \
  pipeline/train.py
