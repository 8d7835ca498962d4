#!/usr/bin/env python3
"""Does Transformers read trainer_state.json of our checkpoints, and does it count patience as we do?

    trainer_state.py RUN_DIR

Loads every checkpoint's file by TrainerState, compares log_history with metrics.jsonl, and feeds the evaluations to
EarlyStoppingCallback."""

import argparse
import json
import pathlib

from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments


def counted(rows):
    """(lowest loss, its step, evaluations without improvement), by Transformers."""
    stopper = EarlyStoppingCallback(early_stopping_patience=10**9)
    args = TrainingArguments(output_dir="unused", metric_for_best_model="eval_loss", greater_is_better=False)
    state = TrainerState()
    for row in rows:
        loss = row["eval_loss"]
        loss = float("nan") if loss is None else loss
        stopper.check_metric_value(args, state, TrainerControl(), loss)
        if state.best_metric is None or loss < state.best_metric:
            state.best_metric, state.best_global_step = loss, row["step"]
    return state.best_metric, state.best_global_step, stopper.early_stopping_patience_counter


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    run = parser.parse_args().run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    found = sorted(run.glob("checkpoint-*/trainer_state.json"))
    assert found, f"{run}: no checkpoints"
    for file in found:
        state = TrainerState.load_from_json(str(file))
        assert file.parent.name == f"checkpoint-{state.global_step}" and state.is_world_process_zero
        mine = [row for row in rows if row["step"] <= state.global_step]
        assert len(state.log_history) == len(mine), f"{file}: {len(state.log_history)} rows of {len(mine)}"
        for have, want in zip(state.log_history, mine):
            assert all(have[key] == want[key] for key in have if key in want), f"{file}: {have} for {want}"
            assert "loss" in have or "eval_loss" in have
        evals = [row for row in mine if "eval_loss" in row]
        if evals:
            best, step, without = counted(evals)
            own = state.stateful_callbacks["qlora-train"]["evaluations"]
            assert (state.best_metric, state.best_global_step) == (best, step), f"{file}: best {state.best_metric}"
            assert own["without_improvement"] == without, f"{file}: {own}, Transformers counts {without}"
        print(f"{file}: step {state.global_step} of {state.max_steps}, {len(state.log_history)} rows, "
              f"best {state.best_metric} at {state.best_global_step}")


if __name__ == "__main__":
    main()
