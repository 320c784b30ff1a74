import asyncio

from twisted.trial.unittest import SynchronousTestCase

from dht14.embedding.until_done import until_done


class UntilDoneTests(SynchronousTestCase):
    def test_result(self) -> None:
        """It returns the result, or raises the error."""

        async def main() -> int:
            failing = asyncio.get_running_loop().create_future()
            failing.set_exception(ZeroDivisionError())
            try:
                await until_done(failing)
            except ZeroDivisionError:
                return await until_done(asyncio.ensure_future(asyncio.sleep(0, 14)))
            return 0

        self.assertEqual(asyncio.run(main()), 14)

    def test_cancelled(self) -> None:
        """A task that is cancelled twice meanwhile ends as cancelled, after the end of what it waits for."""
        states: list[str] = []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            task = asyncio.ensure_future(until_done(future))
            for _ in range(2):
                await asyncio.sleep(0)
                task.cancel()
            await asyncio.sleep(0)
            states.append(f"done: {task.done()}")
            future.set_result(None)
            await asyncio.wait([task])
            states.append(f"cancelled: {task.cancelled()}")

        asyncio.run(main())
        self.assertEqual(states, ["done: False", "cancelled: True"])
