# %% [markdown]
# A walk through the Python API: train on the embedded data set for a moment, test, load, predict,
# look at the probabilities. Run it as a script (`python docs/notebook.py WORKDIR`) or cell by cell.

# %%
import csv
import sys
from pathlib import Path

import vid3d

workdir = sys.argv[1] if len(sys.argv) > 1 else "runs/notebook"

# %% [markdown]
# The config has every key with its default. Here: 100 videos of five motions that no single frame
# tells apart, differences of neighbouring frames as input, and a small network.

# %%
config = vid3d.config.default()
config.data.source = "synthetic"
config.data.synthetic.groups = 20
config.data.synthetic.videos_per_group = 1
config.data.size = 32
config.model.input = "difference"
config.model.features = (8, 16)
config.model.pool = (1, 2, 2)
config.model.norm = "batch"
config.model.hidden = 0
config.optim.learning_rate = 2e-3
config.train.epochs = 3

# %% [markdown]
# Train. A second call with the same workdir resumes, or says that the run is finished; a call that
# was interrupted returns False.

# %%
finished = vid3d.train(config, workdir)
assert finished, "interrupted: run this cell again to resume"

# %% [markdown]
# Test the best checkpoint on the test videos, which training never reads.

# %%
metrics, folder = vid3d.evaluate(workdir)
low, high = metrics["interval"]
print(f"test accuracy {metrics['accuracy']:.3f} (95% interval {low:.3f} to {high:.3f})")
print(f"{metrics['correct']} of {metrics['num_videos']} videos, protocol: {metrics['protocol']}")
print("predictions and confusion matrix:", sorted(path.name for path in Path(folder).iterdir()))

# %% [markdown]
# Load the checkpoint and label one of the test videos. Three epochs are too few to be right often.

# %%
with (Path(workdir) / "videos.csv").open(newline="") as file:
    video = next(row for row in csv.DictReader(file) if row["split"] == "test")
classifier = vid3d.load(workdir)
answer = classifier.predict(Path(metrics["data"]) / video["path"])
print(f"{video['path']} is {video['label']}, the answer is {answer.label}")

# %% [markdown]
# The probabilities of all classes, largest first.

# %%
for label, probability in sorted(answer.probabilities.items(), key=lambda item: -item[1]):
    print(f"{label:20} {probability:.3f} {'#' * round(40 * probability)}")
