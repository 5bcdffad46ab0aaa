"""Random damage to files of every format: the system reads them or says why not, in bounded time and memory.

make fuzz MINUTES=20            python -m ingestion_pipeline_tests.fuzz --minutes 20
make fuzz SEED=1234             one case again
"""
