#!/usr/bin/env python3
"""Python's asyncio as a peer: framed as here, one write a batch. asyncio_echo.py PORT"""
import asyncio
import sys


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.tail = transport, b""

    def data_received(self, data):
        data = self.tail + data if self.tail else data
        end = data.rfind(b"\r\n\r\n") + 4
        if end == 3:
            self.tail = data
            return
        self.transport.write(data[:end])
        self.tail = data[end:]


async def serve(port):
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


asyncio.run(serve(int(sys.argv[1])))
