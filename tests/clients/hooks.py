import schemathesis

# tus' name for bytes.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
