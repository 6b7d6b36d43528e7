"""A test and prediction with fastai's exported learner: ``fastai_predict.py MODEL FOLDER [--labelled]``."""

from fastai.data.transforms import get_image_files
from fastai.learner import load_learner

from benchmarks.speed.peers.arguments import prediction


def main() -> None:
    options = prediction()
    learn = load_learner(options.model)
    paths = sorted(get_image_files(options.folder))
    data = learn.dls.test_dl(paths, with_labels=options.labelled)
    if options.labelled:
        print(learn.validate(dl=data))
        return
    answers = learn.get_preds(dl=data)[0]
    for path, probability in zip(paths, answers[:, 1].tolist(), strict=True):
        print(path, probability, learn.dls.vocab[int(probability > 0.5)])


if __name__ == "__main__":
    main()
