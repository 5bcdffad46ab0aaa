"""The guarantee suite: hundreds of files, corrections and undos, every server and worker hit; then every row compared.

What belongs here: a program of its own (`python -m ingestion_pipeline_tests.guarantees.suite`, `make guarantees`) and
its parts. What does not: single guarantees, which have tests beside this package. The parts, as they are used::

    surroundings  contracts and organizations          content   files, and the rows that must come of them
    schedule      everything that will happen          model     what must be in Druid in the end
    sender        puts, announces, corrects, undoes    keeper    starts again what has died, as an init system does
    strikes       kills and stops                      checks    compares rows, judges jobs
    play          one performance of a schedule        report    tables, JSON
"""
