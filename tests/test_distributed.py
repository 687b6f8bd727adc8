"""BatchPredictor on tables as engines hand them over, and on local clusters of Ray and Dask, of which a worker is killed."""

import json
import os
import pickle
import signal
import time

import numpy as np
import pytest
from support import needs

import albert_np
from albert_np.distributed import BatchPredictor

TEXTS = ["Plants need [MASK].", "The [MASK] was old.", "She opened the [MASK] and went in."]


def test_a_dict_of_arrays_keeps_its_columns_and_gets_more():
    predict = BatchPredictor("fill-mask")
    batch = {"text": np.array(TEXTS, object), "id": np.arange(3)}
    out = predict(batch)
    assert list(out) == ["text", "id", "answer"]
    assert out["id"] is batch["id"]
    assert [json.loads(one) for one in out["answer"]] == albert_np.pipeline("fill-mask")(TEXTS)


def test_embeddings_are_a_matrix_for_ray_and_a_column_of_vectors_for_pandas():
    pandas = needs.module("others", "pandas")
    predict = BatchPredictor("sentence-embeddings", columns={"text": "body"}, prefix="my_")
    vectors = albert_np.SentenceEncoder.from_pretrained("demo").encode(TEXTS)
    out = predict({"body": np.array(TEXTS, object)})
    assert np.array_equal(out["my_embedding"], vectors)
    frame = predict(pandas.DataFrame({"body": TEXTS}))
    assert np.array_equal(np.stack(frame["my_embedding"]), vectors)
    assert predict.meta(frame[["body"]]).columns.tolist() == ["body", "my_embedding"]
    table = needs.module("others", "pyarrow").table({"body": TEXTS})
    assert np.array_equal(np.array(predict(table)["my_embedding"].to_pylist(), np.float32), vectors)


def test_a_bad_row_is_raised_or_has_its_message():
    with pytest.raises(ValueError, match=r"input 1: there is no .MASK. in 'No mask.'"):
        BatchPredictor("fill-mask")({"text": [TEXTS[0], "No mask."]})
    out = BatchPredictor("fill-mask", on_error="skip")({"text": [TEXTS[0], "No mask."]})
    assert out["error"][0] is None
    assert out["answer"][1] is None
    assert out["error"][1].startswith("input 1: there is no [MASK]")


def test_it_is_pickled_without_a_model_and_loads_one_for_each_process():
    predict = BatchPredictor("fill-mask", top_k=2)
    before = predict({"text": TEXTS})
    assert len(pickle.dumps(predict)) < 500
    again = pickle.loads(pickle.dumps(predict))
    assert again({"text": TEXTS})["answer"].tolist() == before["answer"].tolist()
    assert again._once(None) is predict._once(None)


def test_an_empty_batch_has_the_columns_of_others():
    assert BatchPredictor("fill-mask")({"text": []})["answer"].tolist() == []
    assert list(BatchPredictor("sentence-embeddings")({"text": []})) == ["text", "embedding"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchPredictor("translate"), "task must be one of"),
        (lambda: BatchPredictor("fill-mask", columns={"body": "x"}), "columns names body; fill-mask reads text"),
        (lambda: BatchPredictor("fill-mask", threads=0), "threads must be a whole number of at least 1"),
        (lambda: BatchPredictor("fill-mask", on_error="stop"), "on_error must be one of raise, skip"),
        (lambda: BatchPredictor("fill-mask")({"body": []}), "the batch has no column text; it has body"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- real clusters, of two workers on this machine ----------------------------------------------------------------------


def killed_once():
    """A class made in a function goes to other processes by value: they cannot import this file."""

    class KilledOnce(BatchPredictor):
        """Its process is killed in the middle of the work, once: what a machine that goes away looks like."""

        def __init__(self, mark, **arguments):
            super().__init__("fill-mask", **arguments)
            self.mark = mark

        def __call__(self, batch):
            if 40 in list(batch["id"]):
                try:
                    os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    time.sleep(0.2)
                    os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(batch)

    return KilledOnce


ROWS = 60


@pytest.fixture
def wanted():
    texts = [TEXTS[i % 3].replace("old", f"old {i}") for i in range(ROWS)]
    return texts, [json.dumps(one, ensure_ascii=False) for one in albert_np.pipeline("fill-mask")(texts)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Ray itself
def test_ray_with_two_workers_one_of_which_is_killed(tmp_path, wanted):
    ray = needs.module("others", "ray")
    pandas = needs.module("others", "pandas")
    from ray.data import ActorPoolStrategy

    texts, answers = wanted
    pandas.DataFrame({"id": range(ROWS), "text": texts}).to_parquet(tmp_path / "in.parquet")
    # two for the workers, two for reading and writing
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        out = ray.data.read_parquet(str(tmp_path / "in.parquet"), override_num_blocks=6).map_batches(
            killed_once(),
            fn_constructor_kwargs={"mark": str(tmp_path / "killed")},
            batch_size=10,
            compute=ActorPoolStrategy(size=2),
            max_restarts=-1,
            max_task_retries=-1,
        )
        out.write_parquet(str(tmp_path / "out"))
    finally:
        ray.shutdown()
    assert (tmp_path / "killed").exists()
    found = pandas.read_parquet(tmp_path / "out").sort_values("id", ignore_index=True)
    assert found["id"].tolist() == list(range(ROWS))
    assert found["answer"].tolist() == answers


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Dask itself
def test_dask_with_two_workers_one_of_which_is_killed(tmp_path, wanted):
    needs.module("others", "distributed")
    pandas = needs.module("others", "pandas")
    import dask.dataframe as dd
    from dask.distributed import Client, LocalCluster

    texts, answers = wanted
    frame = dd.from_pandas(pandas.DataFrame({"id": range(ROWS), "text": texts}), npartitions=6)
    predict = killed_once()(str(tmp_path / "killed"))
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        frame.map_partitions(predict, meta=predict.meta(frame)).to_parquet(tmp_path / "out")
    assert (tmp_path / "killed").exists()
    found = pandas.read_parquet(tmp_path / "out")
    assert found["id"].tolist() == list(range(ROWS))
    assert found["answer"].tolist() == answers
