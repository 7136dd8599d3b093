// The cluster of a file of tests, with a client in the same process: there before the first test,
// gone behind the last one.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll } from "vitest";
import { type ClusterClient, Images } from "../../client/index.js";
import { systemClock, systemRandom } from "../../common/ports.js";
import { cairn, cairnJson, connectTo } from "./support.js";

export interface ClientOfTests {
  client: ClusterClient;
  /** of the pool rbd */
  images: Images<ClusterClient["io"]>;
}

/**
 * To be called by a file, outside of its tests.
 * @param use takes the client, before the first test
 * @returns a folder for files of the tests, and that of the cluster in it
 */
export function testCluster(
  name: string,
  use: (made: ClientOfTests) => void,
  osdSize = "4G",
): { folder: string; dir: string } {
  const folder = mkdtempSync(path.join(tmpdir(), `cairn-${name}-`));
  const dir = path.join(folder, "cluster");
  let client: ClusterClient | undefined;
  beforeAll(async () => {
    await cairnJson(dir, "up", "--osds", "3", "--osd-size", osdSize);
    client = await connectTo(dir);
    use({
      client,
      images: new Images(client, "rbd", { clock: systemClock, random: systemRandom }),
    });
  });
  afterAll(async () => {
    await client?.close();
    await cairn(dir, "down", "--purge");
    rmSync(folder, { recursive: true, force: true });
  });
  return { folder, dir };
}
