/** The console: shows the page that the address names, and starts the parts that poll the API. */

import { byId } from "./dom.js";
import { closeEndpoint, openEndpoint } from "./endpoint.js";
import { closeJob, openJob } from "./job.js";
import { refreshJobs, startJobs } from "./jobs.js";
import { startService } from "./service.js";
import { startSession } from "./session.js";
import { startForm } from "./submit.js";
import { openWebhooks } from "./webhooks.js";

// The secret of an endpoint that was just created, for its page.
let created = null;

function route() {
  const [, page = "", id = ""] = location.hash.match(/^#\/(jobs|webhooks)(?:\/(.+))?$/) ?? [];
  const job = page === "jobs" && id;
  const webhooks = page === "webhooks";
  byId("jobs").hidden = Boolean(job || webhooks);
  byId("job").hidden = !job;
  byId("webhooks").hidden = !webhooks;
  document.body.classList.toggle("at-page", Boolean(job || webhooks));
  closeJob();
  closeEndpoint();
  if (job) openJob(decodeURIComponent(id));
  else if (webhooks && id) openEndpoint(decodeURIComponent(id), created?.id === id ? created.secret : null);
  else if (webhooks) openWebhooks(showCreated);
  else refreshJobs();
  created = null;
  if (job || webhooks) byId("work").scrollIntoView({ block: "nearest" });
}

function showCreated(endpoint) {
  created = endpoint;
  location.hash = `#/webhooks/${endpoint.id}`;
}

window.addEventListener("hashchange", route);
startSession();
startJobs();
startService();
startForm((job) => (location.hash = `#/jobs/${job.id}`));
route();
