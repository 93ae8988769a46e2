# Four images: producer, worker-cpu, worker-gpu, flower. `docker build --target worker-cpu .`
#
# The base is pinned to a patch version. To pin its bytes too, pass a digest that you have checked:
# --build-arg PYTHON_IMAGE=python:3.12.12-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/imagefleet/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A fixed number, so that the owner of mounted folders can be named.
RUN groupadd --gid 10001 imagefleet \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin imagefleet

# What all images are built from; pip stays in the build and is in none of them.
FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN /usr/local/bin/python -m venv --without-pip /opt/imagefleet
WORKDIR /src

FROM build AS build-producer
COPY requirements/producer.txt requirements/
RUN /usr/local/bin/python -m pip --python /opt/imagefleet/bin/python install --require-hashes --only-binary :all: -r requirements/producer.txt
COPY . .
RUN /usr/local/bin/python -m pip --python /opt/imagefleet/bin/python install --no-deps --no-index --no-build-isolation .

FROM build AS build-worker-cpu
COPY requirements/worker-cpu.txt requirements/
RUN /usr/local/bin/python -m pip --python /opt/imagefleet/bin/python install --require-hashes --only-binary :all: -r requirements/worker-cpu.txt
COPY . .
RUN /usr/local/bin/python -m pip --python /opt/imagefleet/bin/python install --no-deps --no-index --no-build-isolation .

# The CUDA and cuDNN libraries come as packages with hashes like all others, so the host needs the driver only.
FROM build AS build-worker-gpu
COPY requirements/worker-gpu.txt requirements/
RUN /usr/local/bin/python -m pip --python /opt/imagefleet/bin/python install --require-hashes --only-binary :all: -r requirements/worker-gpu.txt
COPY . .
RUN /usr/local/bin/python -m pip --python /opt/imagefleet/bin/python install --no-deps --no-index --no-build-isolation .

# Flower knows the broker only; of imagefleet its image has one file, which says what Flower may show.
FROM build AS build-flower
COPY requirements/flower.txt requirements/
RUN /usr/local/bin/python -m pip --python /opt/imagefleet/bin/python install --require-hashes --only-binary :all: -r requirements/flower.txt

FROM base AS producer
COPY --from=build-producer /opt/imagefleet /opt/imagefleet
USER 10001:10001
WORKDIR /opt/imagefleet
ENTRYPOINT ["imagefleet"]
CMD ["--help"]

# A worker says by -Q which models it serves, and by -n how it is asked whether it lives; see docker-compose.yml.
FROM base AS worker-cpu
COPY --from=build-worker-cpu /opt/imagefleet /opt/imagefleet
USER 10001:10001
WORKDIR /opt/imagefleet
CMD ["celery", "-A", "workers.app", "worker", "-Q", "index.colour,index.gradient", "-n", "index@%h"]

FROM base AS worker-gpu
COPY --from=build-worker-gpu /opt/imagefleet /opt/imagefleet
ENV IMAGEFLEET_PROVIDERS=CUDAExecutionProvider \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /opt/imagefleet
CMD ["celery", "-A", "workers.app", "worker", "-Q", "index.colour,index.gradient", "-n", "index@%h", "-c", "1"]

FROM base AS flower
COPY --from=build-flower /opt/imagefleet /opt/imagefleet
COPY workers/local/flower_conf.py /etc/imagefleet/flower.py
USER 10001:10001
WORKDIR /opt/imagefleet
EXPOSE 5555
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5555/healthcheck', timeout=4)"]
# Loopback unless told otherwise; where it is told otherwise, FLOWER_BASIC_AUTH says who may look.
CMD ["celery", "flower", "--address=127.0.0.1", "--port=5555", "--conf=/etc/imagefleet/flower.py", "--max_tasks=10000", "--tasks_columns=name,kwargs,state,result,received,runtime,worker"]
