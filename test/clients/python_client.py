"""Calls the image service by a client that Debian's protoc generated.

Arguments: address, API key. Standard input: a JSON list of calls {request, key?, timeout?, cancel_after?}, carried out one after the
other. Standard output: a JSON list with the answer of each, or with its error and the details that could be decoded.
"""

import json
import sys
import time

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from atelier.v1 import image_service_pb2, image_service_pb2_grpc


def main(address, key):
    with grpc.insecure_channel(address) as channel:
        images = image_service_pb2_grpc.ImageServiceStub(channel)
        json.dump([carry_out(images, call, key) for call in json.load(sys.stdin)], sys.stdout)


def carry_out(images, call, key):
    request = json_format.ParseDict(call["request"], image_service_pb2.GenerateImagesRequest())
    metadata = [("authorization", "Bearer " + call.get("key", key))]
    future = images.GenerateImages.future(request, timeout=call.get("timeout"), metadata=metadata)
    if "cancel_after" in call:
        time.sleep(call["cancel_after"])
        future.cancel()
        return {"code": future.code().name}
    try:
        answer = future.result()
    except grpc.RpcError as error:
        return {"code": error.code().name, "message": error.details(), "details": details_of(error)}
    return {
        "answer": json_format.MessageToDict(answer, preserving_proto_field_name=True),
        "headers": {name: value for name, value in future.initial_metadata() if name.startswith("x-atelier-")},
    }


def details_of(error):
    details = {}
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            for packed in status_pb2.Status.FromString(value).details:
                kind = packed.TypeName().rsplit(".", 1)[1]
                detail = getattr(error_details_pb2, kind)()
                packed.Unpack(detail)
                details[kind] = json_format.MessageToDict(detail, preserving_proto_field_name=True)
    return details


main(*sys.argv[1:])
