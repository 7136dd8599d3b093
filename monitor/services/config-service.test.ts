// Table of the settings.
import { describe, expect, it } from "vitest";
import { Checker } from "../../common/schema.js";
import { testMap } from "../../proto/fixtures.js";
import { OsdMapSchema } from "../../proto/osd-map.js";
import { numberSetting } from "../../proto/settings.js";
import { failureDomainOf, logLevelFor, planConfigSet } from "./config-service.js";

const checker = new Checker(OsdMapSchema, "map", "corrupt");

describe("config set", () => {
  it.each([
    ["log_level", "debug"],
    ["osd.log_level", "trace"],
    ["osd.12.log_level", "silent"],
    ["client.vm_1.log_level", "warn"],
    ["mon.down_out_interval_ms", "0"],
    ["mon.nearfull_ratio", "0.8"],
    ["osd.failsafe_full_ratio", "0.99"],
    ["osd.op_complaint_ms", "5000"],
    ["crush.failure_domain", "osd"],
    ["global.rbd_qos_iops_limit", "500"],
    ["client.host-1.example.org.rbd_qos_bps_limit", "1048576"],
    [`trash.purge.365d@13:55:00/${"P-x.".repeat(63)}/${"N_s.".repeat(24)}`, "1"],
    ["trash.purge.1d@13:55:00/rbd/ns", "1700000000000"],
    ["client.cairn_qos_iops_reservation", ""],
    ["log_level", ""],
  ])("takes %s = %j", (name, value) => {
    const changes = planConfigSet(name, value);
    expect(changes).toEqual({ config: { [name]: value } });
    // A map that its readers refuse would stop the cluster.
    checker.check(testMap(0, changes));
  });

  it.each([
    ["log_level", "loud", /one of trace/],
    ["mds.log_level", "info", /no setting/],
    ["mon.down_out_interval_ms", "-1", /milliseconds/],
    ["mon.nearfull_ratio", "1.5", /from 0 to 1/],
    ["crush.failure_domain", "planet", /one of osd, host/],
    ["toString", "x", /no setting/],
    ["global.rbd_cache", "1", /no setting/],
    ["trash.purge.1s/rbd", "1", /no setting/],
    ["osd.rbd_qos_iops_limit", "1", /no setting/],
    ["global.rbd_qos_iops_limit", "1K", /whole number/],
  ])("refuses %s = %j", (name, value, message) => {
    expect(() => planConfigSet(name, value)).toThrow(message);
  });

  it("gives a daemon its most specific log level", () => {
    const config = { log_level: "warn", "osd.log_level": "info", "osd.3.log_level": "debug" };
    const map = testMap(0, { config });
    expect(["osd.3", "osd.4", "client.a", "mon"].map((daemon) => logLevelFor(map, daemon))).toEqual(
      ["debug", "info", "warn", "warn"],
    );
    expect(logLevelFor(testMap(0), "osd.3")).toBeUndefined();
  });

  it("has defaults", () => {
    expect(failureDomainOf({})).toBe("host");
    expect(numberSetting(testMap(0), "mon.nearfull_ratio")).toBe(0.85);
    const config = { "mon.nearfull_ratio": "0.5" };
    expect(numberSetting(testMap(0, { config }), "mon.nearfull_ratio")).toBe(0.5);
  });
});
