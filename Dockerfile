# docker build -t ignite-harness .
# docker run --rm --gpus all --shm-size 1g --user "$(id -u)" -v "$PWD/data:/data" -v "$PWD/results:/results" ignite-harness onecycle
# Without a GPU, leave out --gpus all. For your own study files add -v "$PWD:/studies" and name /studies/my.toml.
FROM python:3.12-slim

COPY . /src
RUN pip install --no-cache-dir --constraint /src/constraints.txt "/src[onnx,tensorboard,timm]" \
    && rm -r /src \
    && mkdir --mode 777 /data /results /cache

# any --user may write here; results go to ./results, which is /results
ENV HARNESS_DATA=/data XDG_CACHE_HOME=/cache HOME=/cache
WORKDIR /
USER 1000
ENTRYPOINT ["harness-study"]
CMD ["quickstart"]
