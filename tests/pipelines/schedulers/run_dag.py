"""Reads a folder of DAGs as Airflow does, and runs its one DAG once for each exit code of the task `evaluate`.

    run_dag.py FOLDER RESULT CODE...

Runs in Airflow's own environment. RESULT is JSON: for each code the run's state, and each task's state and tries.
"""

import json
import os
import sys
from pathlib import Path

from airflow.dag_processing.dagbag import DagBag

folder, result, *codes = sys.argv[1:]
bag = DagBag(folder)
if bag.import_errors:
    sys.exit(str(bag.import_errors))
(dag,) = bag.dags.values()
found = {}
for code in codes:
    os.environ["EVALUATE_EXITS"] = code
    run = dag.test()
    tasks = {one.task_id: [str(one.state), one.try_number] for one in run.get_task_instances()}
    found[code] = {"run": str(run.state), "run_id": run.run_id, "tasks": tasks}
Path(result).write_text(json.dumps(found))
