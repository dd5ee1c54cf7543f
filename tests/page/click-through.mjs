// Clicks through the whole page in a real browser, checks what it says, and takes screenshots into shots/.
//   node tests/page/click-through.mjs target/release/aries        exit code 1 if anything is wrong
//   node tests/page/click-through.mjs target/release/aries --quick        one width and one colour scheme only
// It needs `npm install` here (playwright-core), and Chromium; CHROMIUM says where, /usr/bin/chromium if nothing does.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

const PORT = 8100;
const quick = process.argv.includes("--quick");
const program = process.argv.slice(2).find((argument) => !argument.startsWith("--")) ?? "target/release/aries";
const shots = process.env.SHOTS ?? fs.mkdtempSync(path.join(os.tmpdir(), "aries-page-"));
const lab = spawn(path.resolve(program), ["lab", "--port", String(PORT)], { stdio: ["ignore", "pipe", "inherit"] });
await new Promise((resolve) => {
  let told = "";
  lab.stdout.on("data", (data) => {
    told += data;
    if ((told.match(/^store .*http/gm) ?? []).length >= 2) resolve();
  });
});
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
const problems = [];
let checks = 0;

function check(what, condition) {
  checks++;
  if (!condition) problems.push(what);
  console.log(`${condition ? "ok  " : "FAIL"} ${what}`);
}

async function open(options, url) {
  const context = await browser.newContext({ acceptDownloads: true, ...options });
  const page = await context.newPage();
  page.on("console", (message) => {
    // A store that is away refuses connections: the browser says so, and the page expects it.
    if (message.type() === "error" && !/ERR_(CONNECTION|EMPTY|SOCKET|FAILED)|status of 40[04]/.test(message.text())) problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`page error: ${error.message}`));
  page.on("dialog", (dialog) => { problems.push("a dialog opened: script ran"); dialog.dismiss(); });
  await page.goto(url);
  return page;
}

const base = `http://127.0.0.1:${PORT}/`;
async function shoot(page, name) {
  if (quick) return;
  await page.waitForTimeout(1100); // scrolling and flashes come to rest
  await page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
}

async function currentInView(page, what) {
  const isSeen = async () => {
    const [record, box] = await Promise.all([page.locator(".record.current:visible").boundingBox(), page.locator(".tape-scroller:visible").boundingBox()]);
    return record.x >= box.x - 1 && record.x + record.width <= box.x + box.width + 1;
  };
  for (let tries = 0; tries < 30 && !(await isSeen()); tries++) await page.waitForTimeout(100); // the tape glides
  check(`${what}: the current record is in view`, await isSeen());
}
const noSideways = async (page, what) => check(`${what}: nothing sticks out sideways`, await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));

async function twoStores(page, tag) {
  const withLog = page.locator(".store.with-log");
  const without = page.locator(".store.without-log");
  await withLog.locator(".badge", { hasText: "up" }).waitFor();
  await page.locator(".both").getByRole("button", { name: "Load 20" }).click();
  await withLog.locator(".keys li").nth(19).waitFor();
  await without.locator(".keys li").nth(19).waitFor();
  await without.getByRole("button", { name: "Flush" }).click();
  await withLog.getByRole("button", { name: "Checkpoint" }).click();
  const evil = "<img src=x onerror=alert(1)>";
  for (const store of [withLog, without]) {
    await store.getByPlaceholder("key").fill(evil);
    await store.getByPlaceholder("value").fill("<script>alert(2)</script>");
    await store.getByPlaceholder("value").press("Enter");
    await store.locator(".key", { hasText: evil }).waitFor();
  }
  check(`${tag}: a key that looks like HTML is text`, await page.locator(".keys img").count() === 0);
  await withLog.getByPlaceholder("key").fill("zoe");
  await withLog.getByPlaceholder("value").fill('{"balance": 5}');
  await withLog.getByRole("button", { name: "Put", exact: true }).click();
  await withLog.locator(".key", { hasText: "zoe" }).waitFor();
  await withLog.getByRole("button", { name: "Delete zoe" }).click();
  await withLog.locator(".key", { hasText: "zoe" }).waitFor({ state: "detached" });
  await withLog.getByPlaceholder("key").fill("nobody");
  await withLog.getByRole("button", { name: "Delete", exact: true }).click();
  await withLog.locator(".error", { hasText: "no key" }).waitFor();
  check(`${tag}: an error of the store is shown`, true);
  await page.waitForTimeout(2500);
  await page.locator(".live .record").last().click();
  await page.locator(".live .hex").waitFor();
  check(`${tag}: a record shows its bytes`, /^0000 {2}[0-9a-f]{2} /.test(await page.locator(".live .hex").textContent()));
  check(`${tag}: the dirty page table is filled`, await page.locator(".live tbody tr").count() > 1);
  await noSideways(page, tag);
  await shoot(page, `${tag}-stores`);
  await page.getByRole("button", { name: "Crash both" }).click();
  await withLog.locator(".badge.away").waitFor();
  await page.waitForTimeout(200);
  await shoot(page, `${tag}-stores-away`);
  await withLog.locator(".crash-report .verdict").waitFor();
  await without.locator(".crash-report .verdict").waitFor();
  check(`${tag}: with the log nothing is lost`, /nothing acknowledged is lost/.test(await withLog.locator(".verdict").textContent()));
  check(`${tag}: without it the key after the flush is lost`, /1 acknowledged key lost/.test(await without.locator(".verdict").textContent()));
  check(`${tag}: the lost key is listed`, await without.locator(".fates del", { hasText: evil }).count() === 1);
  await page.waitForTimeout(3200);
  await shoot(page, `${tag}-stores-after`);
  await lostDeletes(page, tag);
}

// What is deleted or cleared, and not flushed, comes back where there is no log; the page says so.
async function lostDeletes(page, tag) {
  const without = page.locator(".store.without-log");
  await without.getByRole("button", { name: "Flush" }).click();
  const names = await without.locator(".key").allTextContents();
  await without.getByRole("button", { name: `Delete ${names[0]}` }).click();
  await without.locator(".key", { hasText: names[0] }).waitFor({ state: "detached" });
  await crashAlone(without);
  check(`${tag}: a delete that did not last is told`, /1 acknowledged delete lost/.test(await without.locator(".verdict").textContent())
    && await without.locator(".fates del", { hasText: names[0] }).count() === 1);
  await without.getByRole("button", { name: "Clear" }).click();
  await without.getByText("It is empty.").waitFor();
  await crashAlone(without);
  check(`${tag}: so is a clear`, (await without.locator(".verdict").textContent()).includes(`${names.length} acknowledged deletes lost`));
  await shoot(page, `${tag}-deletes-lost`);
}

async function crashAlone(store) {
  await store.getByRole("button", { name: "Crash" }).click();
  await store.locator(".badge.away").waitFor();
  await store.locator(".badge", { hasText: "up" }).waitFor();
  await store.locator(".crash-report .verdict").waitFor();
}

async function scenarios(page, tag) {
  await page.getByRole("tab", { name: "Scenarios" }).click();
  await page.getByRole("button", { name: "Three transactions" }).click();
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.locator(".crash-point").first().waitFor();
  check(`${tag}: crash points are listed`, await page.locator(".crash-points > div > .crash-point").count() > 5);
  check(`${tag}: places are counted from 1`, await page.locator(".crash-points > div .number").first().textContent() === "1");
  check(`${tag}: what is missing stands beside the button`, /Choose a place/.test(await page.locator(".crash-hint").textContent()));
  await page.locator(".crash-point", { hasText: "flush P1" }).first().click();
  check(`${tag}: and goes when a place is chosen`, await page.locator(".crash-hint").textContent() === "");
  await page.getByRole("button", { name: "Link to this scenario" }).click();
  const link = await page.locator(".link").inputValue();
  await noSideways(page, `${tag} scenarios`);
  await shoot(page, `${tag}-scenarios`);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download as one" }).click()]);
  await download.saveAs(path.join(shots, `${tag}-lesson.html`));
  await page.getByRole("button", { name: "Watch this run" }).click();
  return link;
}

async function replay(page, tag) {
  const words = () => page.locator(".told .words").textContent();
  await page.locator(".told .words").waitFor();
  check(`${tag}: it begins behind the setup`, !/fill/.test(await page.locator(".statement-now").textContent()));
  const before = await words();
  await page.keyboard.press("ArrowRight");
  check(`${tag}: arrow right steps forward`, await words() !== before);
  await page.keyboard.press("ArrowLeft");
  check(`${tag}: arrow left steps back`, await words() === before);
  await shoot(page, `${tag}-replay-running`);
  await page.locator(".jump", { hasText: "crash" }).click();
  await shoot(page, `${tag}-replay-crash`);
  check(`${tag}: at the crash the pool is empty`, await page.locator("#view-restart .page.out, .standalone .page.out").count() > 3);
  await page.locator(".jump", { hasText: "analysis" }).click();
  check(`${tag}: analysis begins`, /analysis begins/.test(await words()));
  await page.getByRole("button", { name: "Forward" }).click();
  check(`${tag}: a line is added to a table`, await page.locator("tr.added:visible").count() === 1);
  await shoot(page, `${tag}-replay-analysis`);
  await page.locator(".jump", { hasText: "redo" }).click();
  await until(page, /is redone on/);
  check(`${tag}: redo compares pageLSN with LSN`, /pageLSN of P\d+\d+<LSN of the record\d+/.test(await page.locator(".decision").textContent()));
  await noSideways(page, `${tag} replay`);
  await shoot(page, `${tag}-replay-redo`);
  await currentInView(page, `${tag} redo`);
  await page.locator(".jump", { hasText: "redo" }).click();
  await until(page, /is not redone on/);
  await shoot(page, `${tag}-replay-skip`);
  await page.locator(".jump", { hasText: "undo" }).click();
  await until(page, /is undone on/);
  check(`${tag}: the CLR's arrow is strong`, await page.locator(".arc.undo.strong:visible").count() === 1);
  await shoot(page, `${tag}-replay-undo`);
  await currentInView(page, `${tag} undo`);
  await page.screenshot({ path: path.join(shots, `${tag}-replay-undo-window.png`) });
  await page.locator(".record:visible").nth(4).click();
  check(`${tag}: a clicked record shows its bytes`, await page.locator(".hex:visible").count() === 1);
  await page.locator(".record:visible").nth(4).focus();
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Enter");
  check(`${tag}: the tape goes by arrow keys and Enter`, /selected/.test(await page.locator(".record:visible").nth(3).getAttribute("class")));
  check(`${tag}: one record of the tape is a stop of Tab`, await page.locator(".record[tabindex='0']:visible").count() === 1);
  await page.getByRole("slider", { name: "Step" }).fill("40");
  await page.keyboard.press("End");
  check(`${tag}: End goes to the last step`, /^step (\d+) of \1$/.test(await page.locator(".place").textContent()));
  await page.locator("select").selectOption({ label: "fastest" });
  await page.keyboard.press("Home");
  await page.locator(".play").click();
  await page.waitForTimeout(800);
  check(`${tag}: play plays`, !/step 1 of/.test(await page.locator(".place").textContent()));
  await page.locator(".play").click();
  const stopped = await page.locator(".place").textContent();
  await page.waitForTimeout(400);
  check(`${tag}: pause pauses`, stopped === await page.locator(".place").textContent());
}

async function until(page, pattern) {
  for (let step = 0; step < 60; step++) {
    if (pattern.test(await page.locator(".told .words").textContent())) return;
    await page.keyboard.press("ArrowRight");
  }
  problems.push(`no step says ${pattern}`);
}

const wholeInView = (what) => what.evaluate((node) => {
  const { top, bottom } = node.getBoundingClientRect();
  return top >= 0 && bottom <= window.innerHeight;
});

// On a projector the sentence, the tape and both tables are seen together.
async function projector(options) {
  const page = await open({ ...options, viewport: { width: 1280, height: 800 } }, `${base}#scenarios`);
  await page.getByRole("button", { name: "Three transactions" }).click();
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.locator(".crash-point", { hasText: "flush P1" }).first().click();
  await page.getByRole("button", { name: "Crash here and restart" }).click();
  await page.locator(".jump", { hasText: "undo" }).click();
  await until(page, /is undone on/);
  const seen = await Promise.all([".told .words", ".tables", ".tape-scroller"].map((what) => wholeInView(page.locator(`#view-restart ${what}`))));
  check("at 1280x800 sentence, tape and tables are seen together", seen.every(Boolean));
  const tops = await page.locator(".player .buttons > *, .jump").evaluateAll((nodes) => nodes.filter(({ className }) => className !== "jumps").map((node) => Math.round(node.getBoundingClientRect().y + node.getBoundingClientRect().height / 2)));
  check("its buttons stand in one row", Math.max(...tops) - Math.min(...tops) < 10);
  check("the script's names stand beside the engine's", /T3 ‹T2›/.test(await page.locator(".told .words").textContent())
    && await page.locator("#view-restart .record", { hasText: "‹#9›" }).count() === 1);
  await shoot(page, "projector");
  await page.context().close();
}

async function crashChosen(page, tag) {
  await page.getByRole("tab", { name: "Scenarios" }).click();
  await page.getByRole("radio", { name: /random/ }).check();
  await page.getByRole("button", { name: "Crash here and restart" }).click();
  await page.locator("#view-restart .told").waitFor();
  check(`${tag}: the chosen crash opens in view B`, /^#restart/.test(new URL(page.url()).hash) && await page.locator(".jump", { hasText: "crash" }).count() > 0);
  await page.waitForFunction(() => window.scrollY === 0);
  check(`${tag}: it begins at the top`, await wholeInView(page.locator(".told .words")));
  await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
  await page.locator("body").press("ArrowRight");
  check(`${tag}: a step by key brings the sentence back`, await wholeInView(page.locator(".told .words")));
  await page.locator(".jump", { hasText: "crash" }).first().click();
  await shoot(page, `${tag}-chosen-crash`);
}

// A page of four sectors is written in place; power fails before it is synced, and one sector reaches the disk.
const TORN = "options page_size=2048\nfill pages=2 records=4\nT1: begin\nT1: update P1\nflush P1\nT1: commit";

async function crashInside(page, tag) {
  await page.getByRole("tab", { name: "Scenarios" }).click();
  await page.locator("textarea").fill(TORN);
  await page.locator("textarea").press("Control+Enter");
  const flush = page.locator(".crash-points > div", { hasText: "flush P1" });
  await flush.waitFor();
  check(`${tag}: calls are listed only when somebody looks`, await page.locator(".call").count() === 0);
  await flush.locator("summary").click();
  await flush.locator(".call.changes").first().waitFor();
  check(`${tag}: calls that only read are folded away`, await flush.locator(".call.reads:visible").count() === 0 || await flush.locator(".call.reads").count() === 0);
  await flush.locator(".call", { hasText: "sync of the file of pages" }).click();
  const pages = page.locator(".pending-file", { hasText: "pages" });
  await pages.locator(".sector").nth(3).waitFor();
  await page.getByRole("radio", { name: "nothing" }).check();
  check(`${tag}: the four sectors of the page are there, none kept`, await pages.locator(".sector").count() === 4 && await pages.locator(":checked").count() === 0);
  await page.getByRole("radio", { name: "all of it" }).check();
  check(`${tag}: "all" ticks all`, await page.locator(".pending :checked").count() === await page.locator(".pending input").count());
  await page.getByRole("radio", { name: "nothing" }).check();
  check(`${tag}: "nothing" ticks nothing`, await page.locator(".pending :checked").count() === 0);
  await page.getByRole("spinbutton", { name: "Seed" }).fill("5");
  await page.getByRole("radio", { name: /random/ }).check();
  await page.locator(".pending :checked").first().waitFor({ state: "attached" });
  const random = await page.locator(".pending :checked").count();
  check(`${tag}: "random" ticks some`, random > 0 && random < await page.locator(".pending input").count());
  await page.getByRole("radio", { name: "nothing" }).check();
  await pages.locator(".sector input").first().focus();
  await page.keyboard.press("Space");
  check(`${tag}: a sector is ticked by keyboard`, await pages.locator(":checked").count() === 1 && await page.getByRole("radio", { name: "ticked below" }).isChecked());
  check(`${tag}: what it is stands below`, /sector 0 of P1, bytes 0 to 512/.test(await page.locator(".about-sector").textContent()));
  await page.getByRole("button", { name: "Link to this scenario" }).click();
  await noSideways(page, `${tag} survivors`);
  await shoot(page, `${tag}-survivors`);
  const link = await page.locator(".link").inputValue();
  await page.getByRole("button", { name: "Crash here and restart" }).click();
  await page.locator("#view-restart .told").waitFor();
  await page.locator(".jump", { hasText: "crash" }).first().click();
  check(`${tag}: the page is damaged after the crash`, /P1.*damaged/s.test(await page.locator("#view-restart .page", { hasText: "damaged" }).textContent()));
  check(`${tag}: what reached the disk is told`, /of \d+ writes not synced 1 are on the disk/.test(await page.locator(".told .words").textContent()));
  await shoot(page, `${tag}-torn`);
  await page.locator(".jump", { hasText: "analysis" }).first().click();
  await until(page, /P1 was torn: restored from the double-write file/);
  check(`${tag}: the torn page is restored, and why`, /batch has them whole/.test(await page.locator(".told .why").textContent())
    && await page.locator("#view-restart .page", { hasText: "damaged" }).count() === 0);
  await shoot(page, `${tag}-restored`);
  return link;
}

// A link that carries a place inside a statement, and sectors.
async function linkToCall(options, link) {
  const page = await open(options, link);
  await page.getByText("This script came with the link").waitFor();
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.locator(".call input:checked").waitFor();
  await page.locator(".pending .sector").first().waitFor();
  check("a link brings the call", /sync of the file of pages/.test(await page.locator(".call", { has: page.locator(":checked") }).textContent()));
  check("and the sectors", await page.locator(".pending :checked").count() === 1 && await page.locator(".pending .sector input").first().isChecked());
  await page.locator("textarea").fill(`${TORN}\ncrash\n!restart nonsense`);
  // As links were before there were places inside a statement.
  const old = { script: TORN, crash_at: null, survivors: "random:3" };
  const ran = await (await fetch(`${base}lab/run`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ script: TORN }) })).json();
  old.crash_at = ran.crash_points.at(-1).event;
  const oldPage = await open(options, `${base}#scenarios/p${Buffer.from(JSON.stringify(old)).toString("base64url")}`);
  await oldPage.getByRole("button", { name: "Run", exact: true }).click();
  await oldPage.locator(".crash-point input:checked").waitFor();
  check("an old link is understood", /T1: commit/.test(await oldPage.locator(".crash-point", { has: oldPage.locator(":checked") }).textContent())
    && await oldPage.getByRole("radio", { name: /random/ }).isChecked() && await oldPage.getByRole("spinbutton", { name: "Seed" }).inputValue() === "3");
  await oldPage.context().close();
  check("another script has its own places", await page.locator(".pending .sector").count() === 0 && await page.getByRole("button", { name: "Crash here" }).isDisabled());
  await page.context().close();
}

// Somebody kills the stores from elsewhere: the page finds out by itself.
async function crashFromElsewhere(page) {
  await page.getByRole("tab", { name: "Two stores" }).click();
  await page.waitForTimeout(2200);
  const old = await page.locator(".with-log .verdict").elementHandle();
  await fetch(`http://127.0.0.1:${PORT + 1}/admin/crash`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" }).catch(() => {});
  await old.waitForElementState("hidden");
  await page.locator(".with-log .verdict.good").waitFor();
  check("a crash from elsewhere is noticed", true);
  await page.getByRole("tab", { name: "Scenarios" }).click();
  await page.waitForTimeout(1500);
  await fetch(`http://127.0.0.1:${PORT + 1}/admin/crash`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" }).catch(() => {});
  await page.waitForTimeout(3500);
  await page.getByRole("tab", { name: "Two stores" }).click();
  await page.locator(".with-log .verdict", { hasText: "while nobody looked" }).waitFor();
  check("so is one while another view was seen", true);
}

// A long script: how long a step takes is printed, not asserted.
async function longRun(page) {
  await page.getByRole("tab", { name: "Scenarios" }).click();
  const lines = Array.from({ length: 400 }, (_, at) => `T${at % 5 + 1}: update P${at % 40 + 1}`);
  await page.locator("textarea").fill(["fill pages=40 records=2", ...[1, 2, 3, 4, 5].map((n) => `T${n}: begin`), ...lines, "force", "crash", "restart"].join("\n"));
  await page.locator("textarea").press("Control+Enter");
  await page.getByText("409 statements").waitFor();
  await page.getByRole("button", { name: "Watch this run" }).click();
  await page.locator(".jump", { hasText: "undo" }).click();
  const steps = 40;
  const began = Date.now();
  for (let step = 0; step < steps; step++) await page.keyboard.press("ArrowRight");
  console.log(`     a step of a long run takes ${Math.round((Date.now() - began) / steps)} ms`);
  check("a long run can be watched", /step \d+ of \d{4}/.test(await page.locator(".place").textContent()));
  await shoot(page, "long-run");
  await page.reload();
  await page.locator(".told .words").waitFor();
  check("the run outlives a reload", /step \d+ of \d{4}/.test(await page.locator(".place").textContent()));
}

async function linkOpens(options, link) {
  const page = await open(options, link);
  await page.getByText("This script came with the link").waitFor();
  check("a link brings its script", /T3: update P4/.test(await page.locator("textarea").inputValue()));
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.locator(".crash-point input:checked").waitFor();
  check("and marks its place to crash", await page.getByRole("button", { name: "Crash here" }).isEnabled());
  await page.locator("textarea").fill("explode");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.locator(".error", { hasText: "no statement" }).waitFor();
  check("nothing is counted of a script that cannot be read", await page.locator(".outcome").textContent() === ""
    && /has an error/.test(await page.locator(".crash-points").textContent()));
  check("an error of the script is shown", true);
  await page.goto(`${base}#scenarios/zgarbage`);
  await page.locator("#notice .error").waitFor();
  check("a broken link is told", true);
  await page.getByRole("tab", { name: "Scenarios" }).focus();
  await page.keyboard.press("ArrowLeft");
  check("tabs go by arrow keys", /^#restart/.test(new URL(page.url()).hash));
  await shoot(page, "empty-replay");
  await page.context().close();
}

const policy = (await fetch(base)).headers.get("content-security-policy");
check("the page is served under the strict policy", policy === "default-src 'none'; script-src 'self'; style-src 'self'; connect-src *; img-src 'self' data:");
fs.mkdirSync(shots, { recursive: true });
try {
  const all = [
    ["wide-light", { viewport: { width: 1400, height: 900 }, colorScheme: "light" }],
    ["wide-dark", { viewport: { width: 1400, height: 900 }, colorScheme: "dark" }],
    ["narrow-light", { viewport: { width: 390, height: 844 }, colorScheme: "light", hasTouch: true }],
    ["narrow-dark", { viewport: { width: 390, height: 844 }, colorScheme: "dark", hasTouch: true }],
  ];
  for (const [tag, options] of quick ? all.slice(0, 1) : all) {
    const page = await open(options, base);
    await twoStores(page, tag);
    const link = await scenarios(page, tag);
    await replay(page, tag);
    await crashChosen(page, tag);
    const toCall = await crashInside(page, tag);
    if (tag === "wide-light") {
      await projector(options);
      await linkOpens(options, link);
      await linkToCall(options, toCall);
      await crashFromElsewhere(page);
      await longRun(page);
    }
    await page.context().close();
    const lesson = await open(options, `file://${path.join(shots, `${tag}-lesson.html`)}`);
    await replay(lesson, `${tag}-lesson`);
    await lesson.context().close();
  }
} catch (error) {
  problems.push(error.stack);
}
await browser.close();
lab.kill("SIGINT");
console.log(`${checks} checks; ${problems.length === 0 ? "all is well" : `problems:\n${problems.join("\n")}`}`);
assert.equal(problems.length, 0);
