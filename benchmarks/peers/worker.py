"""One engine in an environment of its own: reads ``go`` on standard input, answers with seconds a batch.

    python worker.py onnxruntime|openvino|openvino-bf16 MODEL.onnx BATCH THREADS WAKING CALLS

A batch is run ``WAKING`` times unmeasured, then ``CALLS`` times, and the answer is the median of these. Before all that
it answers with the scores of a fixed batch, so that the parent can see that all compute the same.
"""

import json
import statistics
import sys
import time

import numpy as np


def engine(name, path, threads):
    """A function of the model's ``images`` to its first output."""
    if name == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"images": x})[0]
    import openvino

    core = openvino.Core()
    core.set_property(
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if name.endswith("bf16") else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    compiled = core.compile_model(path, "CPU")
    return lambda x: compiled(x)[0]


def main():
    name, path, batch, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    run = engine(name, path, threads)
    images = np.random.default_rng(0).normal(0, 1, (batch, 3, 227, 227)).astype(np.float32)
    print(json.dumps(run(images)[0, :10].tolist()), flush=True)
    waking, calls = int(sys.argv[5]), int(sys.argv[6])
    for _ in sys.stdin:
        times = []
        for _ in range(waking + calls):
            begun = time.perf_counter()
            run(images)
            times.append(time.perf_counter() - begun)
        print(statistics.median(times[waking:]), flush=True)


if __name__ == "__main__":
    main()
